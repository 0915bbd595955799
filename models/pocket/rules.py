"""The rules of an episode: what they are about, where they lead, how they are worded, and the reasoning over them."""

from __future__ import annotations

from dataclasses import dataclass

from content import Kind
from draws import Draws
from wordings import (
    DELETE_RULES,
    JOINT_RULES,
    JOINTS,
    LAST_JOINTS,
    LEAVE_RULES,
    MOVE_RULES,
    SINGLE_RULES,
    article,
    capital,
)

_ENDS = {"delete": "trash", "leave": "stay"}
"""What stands for the folder in the reasoning where a rule names none."""


@dataclass
class Rule:
    phrases: list[str]
    action: str
    target: str = ""
    text: str = ""
    subject: str = ""
    """The phrases as a sentence has them; empty where a rule cannot share its sentence."""


class Rules:
    """Draws rules for a document of some kind."""

    def __init__(self, draws: Draws) -> None:
        self.draws = draws

    def phrases(self, wanted: Kind | None, count: int, taken: set[str], label: str) -> list[str]:
        """`count` subject phrases that do not apply to `label`; the first applies to `wanted` where one is given."""
        phrases: list[str] = []
        if wanted:
            phrases.append(self.draws.rng.choice(self.draws.library.phrases_of[wanted.label]))
        others = self.draws.library.other_phrases(label)
        while len(phrases) < count:
            phrase = self.draws.rng.choice(others)
            if phrase not in taken and phrase not in phrases:
                phrases.append(phrase)
        self.draws.rng.shuffle(phrases)
        return phrases

    def _rule(self, phrases: list[str], root: str | None) -> Rule:
        rng = self.draws.rng
        action = rng.choices(["move", "delete", "leave"], [90, 5, 5])[0]
        subject = (
            phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + rng.choice([" and ", " or "]) + phrases[-1]
        )
        rule = Rule(phrases, action)
        if action == "move":
            rule.target = self.draws.folder(
                phrases[0] if rng.random() < 0.7 else "", root if rng.random() < 0.9 else None
            )
            rule.subject = subject
            wording = self.draws.one(MOVE_RULES)
        else:
            wording = self.draws.one(DELETE_RULES if action == "delete" else LEAVE_RULES)
        rule.text = wording.replace("{s}", subject).replace("{S}", capital(subject)).replace("{f}", rule.target)
        return rule

    def sentences(self, rules: list[Rule]) -> list[str]:
        """A sentence for each rule, or now and then one for two or three that follow each other."""
        rng, sentences, rest = self.draws.rng, [], list(rules)
        while rest:
            group = rest[: rng.choice([2, 2, 3])] if rng.random() < 0.3 else rest[:1]
            if len(group) > 1 and all(rule.subject for rule in group):
                first, then = rng.choice(JOINT_RULES)
                parts = [self._worded(first if rule is group[0] else then, rule) for rule in group]
                joint = rng.choice(JOINTS)
                sentences.append(joint.join(parts[:-1]) + rng.choice(LAST_JOINTS) + parts[-1] + ".")
                rest = rest[len(group) :]
            else:
                sentences.append(rest.pop(0).text)
        return sentences

    @staticmethod
    def _worded(wording: str, rule: Rule) -> str:
        worded = wording.replace("{s}", rule.subject).replace("{S}", capital(rule.subject))
        return worded.replace("{f}", rule.target)

    def _single_rule(self, kind: Kind, root: str | None) -> Rule:
        """A rule in the singular, by the kind's own name: 'If it is an invoice, move it to ...'."""
        rule = Rule([kind.label], "move", self.draws.folder(kind.label, root))
        text = (
            self.draws.one(SINGLE_RULES)
            .replace("{a}", article(kind.label))
            .replace("{A}", capital(article(kind.label)))
        )
        rule.text = text.replace("{f}", rule.target)
        return rule

    def _single_kind(self, label: str) -> Kind:
        """A kind that is clearly not `label`, for a singular rule that does not apply."""
        while True:
            kind = self.draws.kind()
            if kind.label != label and not self.draws.library.are_near(kind.label, label):
                return kind

    def several(self, kind: Kind, fits: bool, root: str | None) -> list[Rule]:
        rng = self.draws.rng
        total = rng.choices([1, 2, 3, 4, 5], [6, 24, 32, 23, 15])[0]
        place = rng.randrange(total) if fits else -1
        taken: set[str] = set()
        rules = []
        for index in range(total):
            if rng.random() < 0.12:
                rules.append(self._single_rule(kind if index == place else self._single_kind(kind.label), root))
                continue
            count = rng.choices([1, 2, 3], [75, 19, 6])[0]
            phrases = self.phrases(kind if index == place else None, count, taken, kind.label)
            taken.update(phrases)
            rules.append(self._rule(phrases, root))
        return rules

    def thinking(self, label: str, rules: list[Rule], last: str) -> tuple[str, Rule | None]:
        """The reasoning that a run shows: the kind, then each subject in turn until one fits, and where that leads."""
        lines = [label]
        for rule in rules:
            for phrase in rule.phrases:
                fits = phrase == label or (
                    label in self.draws.library.kinds
                    and phrase in self.draws.library.phrases
                    and self.draws.library.applies(label, phrase)
                )
                lines.append(f"{phrase}: {'yes' if fits else 'no'}")
                if fits:  # the folder at once, beside its phrase: after "yes" alone a neighbour's folder was taken
                    lines[-1] += f", {_ENDS.get(rule.action, rule.target)}"
                    return "\n".join(lines), rule
        lines.append(last)
        return "\n".join(lines), None
