# Read by CMake while pip builds llama-cpp-python (packaging/setup.sh names it in CMAKE_ARGS).
#
# llama-cpp-python forces LLAMA_BUILD_COMMON on in the cache, so -DLLAMA_BUILD_COMMON=OFF does nothing. That library
# serves llama.cpp's own programs, which are not built here, and Python never loads it. A variable outside the cache
# comes first. Steps of the build of 0.3.36: 193 as it is, 140 with LLAVA_BUILD=OFF, 83 with this as well.
set(LLAMA_BUILD_COMMON OFF)
