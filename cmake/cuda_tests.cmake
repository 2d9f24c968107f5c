# Tests of the CUDA backend without a GPU: every native/test/cuda/<name>_test.cpp, with all .cu of native/ops and
# native/test/cuda, as C++ (engine one) and as nvcc's PTX turned into C++ (engine two), plain and under the
# sanitizers. The target `cuda_tests` builds them and `ctest -L cuda` runs them; neither is part of the rest. What is
# not the backend, such as the oracles of operations, comes from the core and is not instrumented.
set(LAYERPEEL_NVCC "" CACHE FILEPATH "The nvcc 13 that makes PTX for engine two of the CUDA tests; without one it is left out")
option(LAYERPEEL_CUDA_WHOLE "Run engine two on every architecture and under the sanitizers, and engine one plainly" ON)
if(LAYERPEEL_CUDA_WHOLE)
  set(LAYERPEEL_CUDA_PTX_plain 80 90 100)
  set(LAYERPEEL_CUDA_PTX_asan 90)
  set(LAYERPEEL_CUDA_PTX_tsan 90)
  set(LAYERPEEL_CUDA_SEEDS 0 1 2)
else()
  # Engine one shows out of bounds accesses and races, engine two what nvcc made of the kernels: each is run where it is quick.
  set(LAYERPEEL_CUDA_PTX_plain 90)
  set(LAYERPEEL_CUDA_SEEDS)
endif()
set(LAYERPEEL_CUDA_FLAGS_plain -O1 -g1)
set(LAYERPEEL_CUDA_FLAGS_asan -O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=undefined
    -fsanitize-recover=alignment,null)
set(LAYERPEEL_CUDA_FLAGS_tsan -O1 -g1 -fsanitize=thread)
# A stack's frames that are dead are no place for what engine two reads; LeakSanitizer traces its own process, which
# some containers forbid, and emu::held() counts what is held.
set(LAYERPEEL_CUDA_ENVIRONMENT_asan "ASAN_OPTIONS=detect_stack_use_after_return=0:detect_leaks=0")
set(LAYERPEEL_CUDA_ENVIRONMENT_tsan "TSAN_OPTIONS=halt_on_error=0:exitcode=66")

file(GLOB LAYERPEEL_CUDA_TEST_KERNELS CONFIGURE_DEPENDS native/test/cuda/*.cu)
file(GLOB LAYERPEEL_CUDA_TESTS CONFIGURE_DEPENDS native/test/cuda/*_test.cpp)
file(GLOB LAYERPEEL_CUDA_HOST CONFIGURE_DEPENDS native/cuda/*.cpp)
layerpeel_cuda_as_cxx(${LAYERPEEL_CUDA_TEST_KERNELS})
set(LAYERPEEL_CUDA_ALL_KERNELS ${LAYERPEEL_CUDA_KERNELS} ${LAYERPEEL_CUDA_TEST_KERNELS})
add_custom_target(cuda_tests)

# PTX, and C++ of that, of every .cu for an architecture; LAYERPEEL_CUDA_TRANSLATED_<architecture>.
foreach(architecture ${LAYERPEEL_CUDA_PTX_plain})
  foreach(source ${LAYERPEEL_CUDA_ALL_KERNELS})
    if(NOT LAYERPEEL_NVCC)
      break()
    endif()
    get_filename_component(name ${source} NAME_WE)
    set(ptx ${CMAKE_CURRENT_BINARY_DIR}/ptx/${name}_${architecture}.ptx)
    set(translated ${CMAKE_CURRENT_BINARY_DIR}/ptx/${name}_${architecture}.cpp)
    add_custom_command(OUTPUT ${ptx} DEPFILE ${ptx}.d DEPENDS ${source} VERBATIM
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/ptx
      COMMAND ${LAYERPEEL_NVCC} -std=c++20 -O3 -lineinfo -arch=compute_${architecture} -Werror all-warnings -diag-suppress 554
        -I ${PROJECT_SOURCE_DIR}/native -MD -MF ${ptx}.d -ptx ${source} -o ${ptx})
    add_custom_command(OUTPUT ${translated} VERBATIM
      DEPENDS ${ptx} ${PROJECT_SOURCE_DIR}/native/cuda/emulated/ptx2cpp.py
      COMMAND python3 ${PROJECT_SOURCE_DIR}/native/cuda/emulated/ptx2cpp.py ${ptx} ${translated})
    list(APPEND LAYERPEEL_CUDA_TRANSLATED_${architecture} ${translated})
    # Written code needs no warnings, and nothing is contracted that nvcc did not. It is long: only what the
    # sanitizers see, too, is worth compiling well.
    set(options -w -ffp-contract=off -fno-sanitize=alignment,null)
    if(NOT architecture IN_LIST LAYERPEEL_CUDA_PTX_asan)
      list(APPEND options -O0)
    endif()
    set_source_files_properties(${translated} PROPERTIES COMPILE_OPTIONS "${options}")
  endforeach()
endforeach()

set(translated)
foreach(architecture ${LAYERPEEL_CUDA_PTX_plain})
  list(APPEND translated ${LAYERPEEL_CUDA_TRANSLATED_${architecture}})
endforeach()
add_custom_target(cuda_ptx DEPENDS ${translated})  # once, for all kinds

function(layerpeel_cuda_test name kind)
  cmake_parse_arguments(PARSE_ARGV 2 test "" "" "ENVIRONMENT;COMMAND;PROPERTIES")
  add_test(NAME cuda_${name} COMMAND ${test_COMMAND})
  set_tests_properties(cuda_${name} PROPERTIES LABELS cuda TIMEOUT 300
    ENVIRONMENT "${LAYERPEEL_CUDA_ENVIRONMENT_${kind}};${test_ENVIRONMENT}" ${test_PROPERTIES})
endfunction()

foreach(kind plain asan tsan)
  add_library(cuda_${kind} OBJECT EXCLUDE_FROM_ALL ${LAYERPEEL_CUDA_ALL_KERNELS} ${LAYERPEEL_CUDA_HOST})
  add_dependencies(cuda_${kind} cuda_ptx)
  foreach(architecture ${LAYERPEEL_CUDA_PTX_${kind}})
    target_sources(cuda_${kind} PRIVATE ${LAYERPEEL_CUDA_TRANSLATED_${architecture}})
  endforeach()
  foreach(source ${LAYERPEEL_CUDA_TESTS} ${PROJECT_SOURCE_DIR}/native/test/cuda/faults.cpp)
    get_filename_component(name ${source} NAME_WE)
    set(program cuda_${name}_${kind})
    add_executable(${program} EXCLUDE_FROM_ALL ${source} $<TARGET_OBJECTS:cuda_${kind}>)
    add_dependencies(cuda_tests ${program})
    foreach(target cuda_${kind} ${program})
      target_include_directories(${target} PRIVATE native)
      target_compile_definitions(${target} PRIVATE ${LAYERPEEL_CUDA_DEFINITIONS})
      target_compile_options(${target} PRIVATE ${LAYERPEEL_CUDA_FLAGS_${kind}})
    endforeach()
    target_link_options(${program} PRIVATE ${LAYERPEEL_CUDA_FLAGS_${kind}})
    target_link_libraries(${program} PRIVATE layerpeel_core)
    if(name STREQUAL faults)
      continue()
    endif()
    if(kind STREQUAL plain)
      foreach(seed ${LAYERPEEL_CUDA_SEEDS})
        layerpeel_cuda_test(${name}_seed_${seed} ${kind} COMMAND ${program} ENVIRONMENT LAYERPEEL_EMULATED_SEED=${seed})
      endforeach()
    else()
      layerpeel_cuda_test(${name}_${kind} ${kind} COMMAND ${program} ENVIRONMENT LAYERPEEL_EMULATED_SEED=1)
    endif()
    if(LAYERPEEL_NVCC)
      foreach(architecture ${LAYERPEEL_CUDA_PTX_${kind}})
        layerpeel_cuda_test(${name}_ptx_${architecture}_${kind} ${kind} COMMAND ${program}
          ENVIRONMENT LAYERPEEL_EMULATED_PTX=${architecture} LAYERPEEL_EMULATED_SEED=1)
      endforeach()
    endif()
  endforeach()
endforeach()

# Which planted fault is found by whom (native/test/cuda/faults.h): engine one, engine two, kind, and what is printed
# then.
set(found
  "none|one two|plain asan tsan|^right"
  "missing_barrier|one two|plain|^wrong"
  "missing_barrier|one two|tsan|data race.*faulty_sum"
  "missing_syncwarp|one two|plain|^wrong"
  "missing_syncwarp|one two|tsan|data race.*faulty_sum"
  "missing_fence|one two|tsan|data race.*faulty_sum"
  "missing_wait|one two|plain|^wrong"
  "beyond_global|one|asan|use-after-poison.*faulty_sum"
  "beyond_global|two|plain asan|faults.cu.*outside of what is allocated"
  "beyond_shared|one|asan|heap-buffer-overflow.*faulty_sum"
  "beyond_shared|two|plain asan|faults.cu.*outside of shared memory"
  "misaligned|one two|plain asan|faults.cu.*not aligned"
  "racing_blocks|one two|tsan|data race.*faulty_sum")
foreach(line ${found})
  string(REPLACE "|" ";" line "${line}")
  list(GET line 0 fault)
  list(GET line 1 engines)
  list(GET line 2 kinds)
  list(GET line 3 printed)
  string(REPLACE " " ";" engines ${engines})
  string(REPLACE " " ";" kinds ${kinds})
  foreach(engine ${engines})
    set(LAYERPEEL_PTX_one 0)
    set(LAYERPEEL_PTX_two 90)
    foreach(kind ${kinds})
      if(engine STREQUAL two AND NOT (LAYERPEEL_NVCC AND 90 IN_LIST LAYERPEEL_CUDA_PTX_${kind}))
        continue()
      endif()
      layerpeel_cuda_test(finds_${fault}_${engine}_${kind} ${kind} COMMAND cuda_faults_${kind} ${fault}
        ENVIRONMENT LAYERPEEL_EMULATED_SEED=1 LAYERPEEL_EMULATED_PTX=${LAYERPEEL_PTX_${engine}}
        PROPERTIES PASS_REGULAR_EXPRESSION "${printed}")
    endforeach()
  endforeach()
endforeach()
layerpeel_cuda_test(finds_host_reads plain COMMAND sh -c "$<TARGET_FILE:cuda_faults_plain> host_reads; test $? -gt 128")
