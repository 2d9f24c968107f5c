# The CUDA backend: which sources make LAYERPEEL_DEVICE, and what these need.
#   LAYERPEEL_CUDA_LIBRARIES, LAYERPEEL_CUDA_INCLUDES, LAYERPEEL_CUDA_DEFINITIONS
# With nvcc, native/cuda and the .cu beside the operations; emulated, the same sources compiled as C++ and the device
# on the CPU (native/cuda/emulated); else native/no_cuda.
set(LAYERPEEL_CUDA_ARCHITECTURES 80-real;90-real;100-real;120-real;90-virtual CACHE STRING
    "Machine code for Ampere, Hopper, Blackwell; what is newer compiles the virtual one when it loads it")
if(NOT LAYERPEEL_CUDA MATCHES "^(auto|on|off|emulated)$")
  message(FATAL_ERROR "LAYERPEEL_CUDA is auto, on, off or emulated, not ${LAYERPEEL_CUDA}.")
endif()

if(LAYERPEEL_CUDA MATCHES "^(auto|on)$")
  # The nvcc of CUDACXX, of the PATH, or of /usr/local/cuda, which is rarely in it.
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(LAYERPEEL_NVCC nvcc PATHS $ENV{CUDA_PATH}/bin /usr/local/cuda/bin)
    if(LAYERPEEL_NVCC)
      set(CMAKE_CUDA_COMPILER ${LAYERPEEL_NVCC})
    endif()
  endif()
  set(CMAKE_CUDA_ARCHITECTURES ${LAYERPEEL_CUDA_ARCHITECTURES})
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER AND LAYERPEEL_CUDA STREQUAL on)
    message(FATAL_ERROR "LAYERPEEL_CUDA=on, but there is no nvcc here; name one in the environment variable CUDACXX.")
  endif()
endif()

# Kernels for the emulated device, which faults where an access is not aligned to its type (emulated/alignment.cpp).
function(layerpeel_cuda_as_cxx)
  set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS
    "-x;c++;-Wno-unknown-pragmas;-fsanitize=alignment,null;-fsanitize-recover=alignment,null")
endfunction()

if(CMAKE_CUDA_COMPILER OR LAYERPEEL_CUDA STREQUAL emulated)
  file(GLOB LAYERPEEL_DEVICE CONFIGURE_DEPENDS native/cuda/*.cpp)
  file(GLOB LAYERPEEL_CUDA_KERNELS CONFIGURE_DEPENDS native/ops/${LAYERPEEL_OPS}/*.cu)
  list(APPEND LAYERPEEL_DEVICE ${LAYERPEEL_CUDA_KERNELS})
else()
  file(GLOB LAYERPEEL_DEVICE CONFIGURE_DEPENDS native/no_cuda/*.cpp)
endif()

if(LAYERPEEL_CUDA STREQUAL emulated)
  set(LAYERPEEL_CUDA_DEFINITIONS LAYERPEEL_CUDA LAYERPEEL_CUDA_EMULATED)
  file(GLOB LAYERPEEL_EMULATOR CONFIGURE_DEPENDS native/cuda/emulated/*.cpp)
  list(APPEND LAYERPEEL_DEVICE ${LAYERPEEL_EMULATOR})
  # The emulator is never instrumented: what it does between threads is no access of theirs. A copy of 32 bytes must
  # not become a call of memcpy, which sanitizers watch.
  set_source_files_properties(${LAYERPEEL_EMULATOR} PROPERTIES COMPILE_OPTIONS
    "-fno-sanitize=all;$<$<CXX_COMPILER_ID:GNU>:-fno-tree-loop-distribute-patterns>")
  layerpeel_cuda_as_cxx(${LAYERPEEL_CUDA_KERNELS})
elseif(CMAKE_CUDA_COMPILER)
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake before 3.26 does not know that this compiler has C++20
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  # 554: a conversion of a Matrix to itself is never called, which templates may declare nevertheless.
  add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Xfatbin -compress-all -diag-suppress 554>")
  set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  # Of the runtime the host side's sources see the headers; the archive goes in whole.
  find_package(CUDAToolkit REQUIRED)
  set(LAYERPEEL_CUDA_DEFINITIONS LAYERPEEL_CUDA)
  set(LAYERPEEL_CUDA_INCLUDES ${CUDAToolkit_INCLUDE_DIRS})
  set(LAYERPEEL_CUDA_LIBRARIES CUDA::cudart_static)
endif()
