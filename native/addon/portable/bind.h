// LP_BIND(name): `__wrap_name`, which jumps to the oldest version of a function of glibc, or to a version that is told.
// CMakeLists.txt has the linker wrap what files of this folder bind.
#pragma once

#if defined(__x86_64__)
#define LP_OLDEST "GLIBC_2.2.5"
#define LP_JUMP(name) "jmp " name "@PLT"
#elif defined(__aarch64__)
#define LP_OLDEST "GLIBC_2.17"
#define LP_JUMP(name) "b " name
#endif

#define LP_BIND_AT(name, version) \
  asm(".pushsection .text\n"                                   \
      ".symver old_" #name ", " #name "@" version "\n"         \
      ".globl __wrap_" #name "\n.hidden __wrap_" #name "\n"    \
      ".type __wrap_" #name ", %function\n"                    \
      "__wrap_" #name ": " LP_JUMP("old_" #name) "\n"          \
      ".popsection");
#define LP_BIND(name) LP_BIND_AT(name, LP_OLDEST)
