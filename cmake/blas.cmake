# Finds BLAS with LAPACK: Accelerate on macOS, an installed OpenBLAS, else the wheel that SciPy's maintainers publish
# for this purpose, unpacked into the build folder; else the reference kernels. Sets
#   LAYERPEEL_BLAS_FOUND      what was found, in words (`doctor` prints it)
#   LAYERPEEL_BLAS_SOURCE     the source file that binds it
#   LAYERPEEL_BLAS_LIBRARIES  what to link
#   LAYERPEEL_BLAS_PREFIX     what its symbols begin with
#   LAYERPEEL_BLAS_SHARED     the shared library to carry beside the addon, if it is not the system's
#   LAYERPEEL_BLAS_LICENSE    and its licence
set(LAYERPEEL_BLAS_SOURCE ${PROJECT_SOURCE_DIR}/native/core/blas/external.cpp)
set(LAYERPEEL_BLAS_PREFIX "")

if(APPLE AND LAYERPEEL_BLAS MATCHES "auto|system")
  set(LAYERPEEL_BLAS_FOUND "Accelerate")
  set(LAYERPEEL_BLAS_LIBRARIES "-framework Accelerate")
endif()

if(NOT LAYERPEEL_BLAS_FOUND AND LAYERPEEL_BLAS MATCHES "auto|system")
  find_library(LAYERPEEL_OPENBLAS openblas)
  if(LAYERPEEL_OPENBLAS)
    # An OpenBLAS built without LAPACK does not serve.
    include(CheckSymbolExists)
    include(CheckFunctionExists)
    set(CMAKE_REQUIRED_LIBRARIES ${LAYERPEEL_OPENBLAS})
    check_function_exists(dgesdd_ LAYERPEEL_OPENBLAS_HAS_LAPACK)
    unset(CMAKE_REQUIRED_LIBRARIES)
    if(LAYERPEEL_OPENBLAS_HAS_LAPACK)
      set(LAYERPEEL_BLAS_FOUND "OpenBLAS of the system (${LAYERPEEL_OPENBLAS})")
      set(LAYERPEEL_BLAS_LIBRARIES ${LAYERPEEL_OPENBLAS})
    endif()
  endif()
endif()

if(NOT LAYERPEEL_BLAS_FOUND AND LAYERPEEL_BLAS MATCHES "auto|wheel")
  set(LAYERPEEL_WHEEL_DIR ${CMAKE_BINARY_DIR}/openblas-${CMAKE_SYSTEM_PROCESSOR})
  file(GLOB_RECURSE LAYERPEEL_WHEEL_LIBRARY ${LAYERPEEL_WHEEL_DIR}/*libscipy_openblas.*)
  if(NOT LAYERPEEL_WHEEL_LIBRARY)
    find_program(LAYERPEEL_PYTHON NAMES python3 python)
    if(LAYERPEEL_PYTHON)
      execute_process(COMMAND ${LAYERPEEL_PYTHON} ${PROJECT_SOURCE_DIR}/cmake/unpack-openblas.py
                              ${LAYERPEEL_WHEEL_DIR} ${CMAKE_SYSTEM_NAME} ${CMAKE_SYSTEM_PROCESSOR}
                      RESULT_VARIABLE LAYERPEEL_WHEEL_RESULT ERROR_VARIABLE LAYERPEEL_WHEEL_ERROR)
      if(LAYERPEEL_WHEEL_RESULT)
        message(STATUS "The OpenBLAS wheel is not to be had: ${LAYERPEEL_WHEEL_ERROR}")
      endif()
      file(GLOB_RECURSE LAYERPEEL_WHEEL_LIBRARY ${LAYERPEEL_WHEEL_DIR}/*libscipy_openblas.*)
    else()
      message(STATUS "No python3 to fetch the OpenBLAS wheel with.")
    endif()
  endif()
  if(LAYERPEEL_WHEEL_LIBRARY)
    file(GLOB LAYERPEEL_WHEEL_VERSION ${LAYERPEEL_WHEEL_DIR}/*.dist-info)
    file(GLOB LAYERPEEL_BLAS_LICENSE ${LAYERPEEL_WHEEL_VERSION}/licenses/LICENSE*)
    get_filename_component(LAYERPEEL_WHEEL_VERSION "${LAYERPEEL_WHEEL_VERSION}" NAME)
    string(REPLACE ".dist-info" "" LAYERPEEL_WHEEL_VERSION "${LAYERPEEL_WHEEL_VERSION}")
    set(LAYERPEEL_BLAS_FOUND "OpenBLAS of the wheel ${LAYERPEEL_WHEEL_VERSION}")
    set(LAYERPEEL_BLAS_LIBRARIES ${LAYERPEEL_WHEEL_LIBRARY})
    set(LAYERPEEL_BLAS_SHARED ${LAYERPEEL_WHEEL_LIBRARY})
    set(LAYERPEEL_BLAS_PREFIX scipy_)
  endif()
endif()

if(NOT LAYERPEEL_BLAS_FOUND)
  if(NOT LAYERPEEL_BLAS MATCHES "auto|none")
    message(FATAL_ERROR "LAYERPEEL_BLAS=${LAYERPEEL_BLAS}, but none was found.")
  endif()
  set(LAYERPEEL_BLAS_FOUND "none: reference kernels")
  set(LAYERPEEL_BLAS_SOURCE ${PROJECT_SOURCE_DIR}/native/core/blas/reference.cpp)
  message(WARNING "No BLAS: dense products and factorizations use the reference kernels, which are correct but slow. "
                  "Install OpenBLAS (Debian: libopenblas-dev) or give python3 with pip, and build again.")
endif()
message(STATUS "BLAS: ${LAYERPEEL_BLAS_FOUND}")
