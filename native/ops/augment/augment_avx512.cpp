#define LP_ISA avx512
#include "ops/augment/augment-inl.h"
