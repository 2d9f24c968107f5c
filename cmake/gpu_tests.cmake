# The tests of cuda_tests.cmake for a GPU: LAYERPEEL_OUTPUT/gpu_tests/<name>_test, beside what the addon needs. What is
# about the emulated device alone stays out.
file(GLOB LAYERPEEL_GPU_TESTS CONFIGURE_DEPENDS native/test/cuda/*_test.cpp)
list(FILTER LAYERPEEL_GPU_TESTS EXCLUDE REGEX "runtime_test")
file(GLOB LAYERPEEL_GPU_TEST_KERNELS CONFIGURE_DEPENDS native/test/cuda/*.cu)
list(FILTER LAYERPEEL_GPU_TEST_KERNELS EXCLUDE REGEX "faults")
add_library(gpu_test_kernels OBJECT ${LAYERPEEL_GPU_TEST_KERNELS})
target_link_libraries(gpu_test_kernels PRIVATE layerpeel_core)
foreach(source ${LAYERPEEL_GPU_TESTS})
  get_filename_component(name ${source} NAME_WE)
  add_executable(gpu_${name} ${source} $<TARGET_OBJECTS:gpu_test_kernels>)
  target_link_libraries(gpu_${name} PRIVATE layerpeel_core)
  set_target_properties(gpu_${name} PROPERTIES OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY ${LAYERPEEL_OUTPUT}/gpu_tests
    BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "$ORIGIN/..")
endforeach()
