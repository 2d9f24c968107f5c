#define LP_ISA avx2
#include "ops/losses/losses-inl.h"
