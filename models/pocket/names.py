"""Names of every sort: people, firms, folders, files, dates, amounts, and words that nobody has seen.

A small model copies only what it learned to copy, so names come from four sources alike: real words, nonsense
syllables, random pieces of its own vocabulary, and the shapes of real file names.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

_FIRST = """Anna Ben Carla Dev Elena Femi Grace Hiro Ines Jonas Karim Lena Mateo Nadia Omar Priya Quinn Rosa Sven Tara
Uma Viktor Wendy Xu Yara Zoe Amir Bella Chidi Dora Emil Fatima Gustav Hana Igor Julia Kofi Lucia Marek Nora Oskar Petra
Ravi Sofia Tom Ursula Vera Will Ximena Yusuf Abigail Bjorn Chloe Diego Edith Farid George Helen Ivan Joan""".split()
_LAST = """Abbott Becker Castillo Dubois Eriksen Farah Gupta Hoffmann Ito Jansen Kowalski Larsen Moreau Novak Okafor Patel
Quintero Rossi Schmidt Tanaka Ueda Vargas Weber Xavier Yilmaz Zhang Ahmed Brown Clarke Davies Evans Fischer Green Hughes
Iyer Jones Khan Lopez Miller Nguyen Olsen Price Reid Silva Taylor Usman Vogel White Young Zimmer""".split()
_FIRM_A = """Northwind Acme Bluebird Cedar Delta Evergreen Fairway Granite Harbor Ironwood Juniper Keystone Lakeside Meridian
Nimbus Oakfield Pinnacle Quartz Riverside Summit Thistle Union Valley Westgate Alpine Brightside Copper Dovetail Ember
Falcon""".split()
_FIRM_B = """Ltd GmbH Inc LLC & Sons Services Group Partners Energy Media Supplies Foods Logistics Insurance Bank Dental
Motors Electric Studio Systems Solutions Works Trading Consulting Care Pharmacy Travel Water Telecom Books""".split(
    "\n"
)
_FIRM_B = [word for line in _FIRM_B for word in line.replace("& Sons", "&_Sons").split()]
_STREETS = (
    "High Street|Station Road|Mill Lane|Oak Avenue|Church Street|Park Row|Lindenstrasse|Rue Verte|Elm Drive|Kings Road"
)
_CITIES = """Leeds Berlin Lyon Austin Pune Oslo Porto Denver Krakow Bristol Hamburg Lagos Toronto Sydney Madrid Graz Cork
Boston Mumbai Turin Basel Ghent Malmo Nairobi Quito""".split()
_MONTHS = "January February March April May June July August September October November December".split()
_WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_PRODUCTS = """desk lamp|USB cable|coffee beans|printer paper|running shoes|garden hose|phone case|wool blanket|LED bulb|
office chair|water filter|backpack|kettle|notebook|headphones|bike lock|paint roller|vacuum bags|batteries AA|tea towel|
frying pan|yoga mat|rain jacket|keyboard|ink cartridge|bread knife|picture frame|dog food|shampoo|screwdriver set"""
_FOODS = (
    "milk|eggs|bread|tomatoes|rice|chicken|butter|onions|apples|pasta|cheese|lentils|spinach|potatoes|yoghurt|flour"
)
_ANIMALS = "dog|cat|rabbit|horse|parrot|hamster|guinea pig|tortoise"
_COUNTRIES = "France|Spain|India|Japan|Italy|Norway|Canada|Brazil|Kenya|Poland|Austria|Portugal"
_SYLLABLES = """ba be bi bo bu da de di do du fa fe fi fo fu ga ge gi go gu ha he ho ka ke ki ko ku la le li lo lu ma me mi
mo mu na ne ni no nu pa pe pi po pu ra re ri ro ru sa se si so su ta te ti to tu va ve vi vo wa we wi za ze zo zu ar en
il or un ast elm irk osp und tran plex quim vors nyx jell krat shup blen drov frim glan""".split()
_FOLDERS = """Documents Inbox Archive Home Office Papers Files Private Work Shared Data Sorted Scans Desk Admin Family Misc
Projects Records Storage Cabinet Drop Incoming Notes Library Keep Later Folder Box Tray Shelf Store Vault Personal House
Money Bills Health Travel School Kitchen Reading Letters Legal Tech Fun Garden Sport""".split()
_USERS = "anna ben carla dev pi user root maria sam ravi tom lena me admin ubuntu jo kim alex nils zoe".split()
_LOOSE = """scan doc document file untitled new copy final draft notes text page letter note export download attachment mail
message paper item print temp old misc report data info""".split()


class Names:
    """Draws names with one random source.

    Args:
        rng: the random source.
        words: real words to draw from (the content vocabulary).
        pieces: texts of single vocabulary tokens, for copying practice; may be empty.
    """

    def __init__(self, rng: random.Random, words: Sequence[str], pieces: Sequence[str] = ()) -> None:
        self.rng = rng
        self.words = words
        self.pieces = pieces
        self._slots: dict[str, Callable[[], str]] = {
            "first": lambda: rng.choice(_FIRST),
            "last": self.last,
            "person": lambda: f"{rng.choice(_FIRST)} {self.last()}",
            "company": self.company,
            "money": self.money,
            "date": self.date,
            "time": lambda: f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}",
            "num": lambda: str(rng.choice([rng.randint(1, 12), rng.randint(1, 99), rng.randint(100, 9999)])),
            "ref": self.reference,
            "street": lambda: f"{rng.randint(1, 220)} {rng.choice(_STREETS.split('|'))}",
            "city": lambda: rng.choice(_CITIES),
            "email": lambda: (
                f"{rng.choice(_FIRST).lower()}@{self.word().lower()}.{rng.choice(['com', 'de', 'org', 'io'])}"
            ),
            "phone": lambda: f"0{rng.randint(100, 999)} {rng.randint(100000, 9999999)}",
            "month": lambda: rng.choice(_MONTHS),
            "year": lambda: str(rng.randint(2015, 2031)),
            "weekday": lambda: rng.choice(_WEEKDAYS),
            "percent": lambda: f"{rng.randint(1, 99)}%",
            "product": lambda: rng.choice(_PRODUCTS.replace("\n", "").split("|")),
            "food": lambda: rng.choice(_FOODS.split("|")),
            "animal": lambda: rng.choice(_ANIMALS.split("|")),
            "country": lambda: rng.choice(_COUNTRIES.split("|")),
            "url": lambda: f"www.{self.word().lower()}.{rng.choice(['com', 'de', 'org', 'co.uk'])}",
        }

    def slot(self, name: str) -> str:
        make = self._slots.get(name)
        return make() if make else name

    def last(self) -> str:
        return self.rng.choice(_LAST) if self.rng.random() < 0.7 else self.nonsense().capitalize()

    def company(self) -> str:
        name = self.rng.choice(_FIRM_A) if self.rng.random() < 0.6 else self.nonsense().capitalize()
        return f"{name} {self.rng.choice(_FIRM_B).replace('_', ' ')}"

    def money(self) -> str:
        rng = self.rng
        amount = rng.choice([rng.uniform(1, 60), rng.uniform(20, 900), rng.uniform(500, 9000)])
        plain = f"{amount:.2f}" if rng.random() < 0.85 else f"{amount:.0f}"
        sign = rng.choice(["$", "£", "€", "EUR ", "USD ", "Rs ", "CHF "])
        return f"{plain} {sign.strip()}" if rng.random() < 0.25 else sign + plain

    def date(self) -> str:
        rng = self.rng
        day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(2015, 2031)
        return rng.choice(
            [
                f"{year}-{month:02}-{day:02}",
                f"{day:02}.{month:02}.{year}",
                f"{day}/{month}/{year}",
                f"{day} {_MONTHS[month - 1]} {year}",
                f"{_MONTHS[month - 1]} {day}, {year}",
                f"{_MONTHS[month - 1][:3]} {day}",
            ]
        )

    def reference(self) -> str:
        rng = self.rng
        letters = "".join(rng.choices("ABCDEFGHJKLMNPRSTUVWXYZ", k=rng.randint(1, 3)))
        return f"{letters}{rng.choice(['-', '', '/', ' '])}{rng.randint(10, 999999)}"

    def nonsense(self) -> str:
        return "".join(self.rng.choices(_SYLLABLES, k=self.rng.randint(2, 4)))

    def piece(self) -> str:
        """One to three random vocabulary tokens in a row, cleaned so that they can stand in a file name."""
        if not self.pieces:
            return self.nonsense()
        text = "".join(self.rng.choices(self.pieces, k=self.rng.randint(1, 3)))
        return text.replace("/", "").replace("\n", "").replace("\x00", "").strip() or self.nonsense()

    def word(self) -> str:
        """One word: real, nonsense or made of vocabulary pieces."""
        draw = self.rng.random()
        if draw < 0.4:
            return self.rng.choice(self.words)
        return self.nonsense() if draw < 0.75 else self.piece()

    def _cased(self, word: str) -> str:
        return self.rng.choice([str.lower, str.lower, str.capitalize, str.upper, str])(word)

    def folder_name(self, hint: str = "") -> str:
        """A folder's name; with `hint` often made from those words, as people do."""
        rng = self.rng
        if hint and rng.random() < 0.5:
            words = hint.split()
            name = rng.choice([" ", "-", "_", ""]).join(words[-2:]) if rng.random() < 0.3 else words[-1]
            return self._cased(name.replace("/", "-").strip("'.,"))
        if rng.random() < 0.4:
            return self._cased(rng.choice(_FOLDERS))
        name = self._cased(self.word())
        return f"{name}{rng.choice(['-', '_', ' '])}{self.word()}" if rng.random() < 0.15 else name

    def root(self) -> str:
        """The beginning of a path: `~`, a home, a mount, a scratch folder."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.45:
            return "~"
        if draw < 0.65:
            return f"/home/{rng.choice(_USERS)}"
        if draw < 0.72:
            return f"/Users/{rng.choice(_USERS)}"
        if draw < 0.80:
            return rng.choice(["/srv", "/mnt", "/media/usb", "/data", "/opt", "/var/lib"]) + "/" + self.nonsense()
        if draw < 0.92:
            return f"/tmp/{self.word().lower()}-{rng.randint(0, 9999)}/{rng.choice(['home', self.nonsense()])}"
        return f"/tmp/tmp{''.join(rng.choices('abcdefghijklmnopqrstuvwxyz0123456789_', k=8))}"

    def folder(self, hint: str = "", root: str | None = None) -> str:
        """A full folder path of one to three names below a root."""
        names = [
            self.rng.choice(_FOLDERS) if self.rng.random() < 0.5 else self.folder_name()
            for _ in range(self.rng.choice([0, 1, 1, 2]))
        ]
        return "/".join([root or self.root(), *names, self.folder_name(hint)])

    def file_name(self, stem: str = "") -> str:
        """A file's name with ending, in one of the shapes that real names have."""
        rng = self.rng
        if not stem or rng.random() < 0.35:
            draw = rng.random()
            if draw < 0.25:
                stem = f"{rng.choice(_LOOSE)}{rng.choice(['_', '-', ' ', ''])}{rng.randint(0, 99999)}"
            elif draw < 0.35:
                stem = f"{rng.choice(['IMG', 'DOC', 'SCN', 'PXL'])}_{rng.randint(1000, 99999999)}"
            elif draw < 0.45:
                stem = f"{rng.choice(_LOOSE)} ({rng.randint(1, 20)})"
            elif draw < 0.55:
                stem = f"{self.date().replace('/', '-')}{rng.choice([' ', '_', '-'])}{self.word()}"
            elif draw < 0.75:
                stem = self._cased(self.word())
            else:
                stem = rng.choice(["-", "_", " ", "."]).join(self.word() for _ in range(rng.randint(2, 3)))
        return (
            stem.strip() + rng.choices([".txt", ".md", ".text", ".csv", ".log", ".eml", ""], [70, 10, 4, 4, 4, 4, 4])[0]
        )
