#define LP_ISA avx512
#include "ops/losses/losses-inl.h"
