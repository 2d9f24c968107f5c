# Holds kernels to the rule of native/core/dispatch.h: the object files of an instruction set define nothing that the
# linker may take for another's. As a test: cmake -DNM=… -DISA=… -DOBJECTS=one|another -P kernels.cmake
string(REPLACE "|" ";" objects "${OBJECTS}")
execute_process(COMMAND ${NM} --defined-only --extern-only --demangle ${objects} OUTPUT_VARIABLE symbols
                COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[0-9a-f]+ [A-Za-z] [^\n]+" symbols "${symbols}")
list(LENGTH symbols count)
if(count EQUAL 0)
  message(FATAL_ERROR "No symbols in the kernels of ${ISA}: ${objects}")
endif()
list(FILTER symbols EXCLUDE REGEX "lp::${ISA}::")
if(symbols)
  list(JOIN symbols "\n  " shown)
  message(FATAL_ERROR "Kernels of ${ISA} define what other code may be given, with its instructions:\n  ${shown}\n"
    "Use no inline function of external linkage in a kernel (native/core/dispatch.h).")
endif()
