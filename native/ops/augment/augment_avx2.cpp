#define LP_ISA avx2
#include "ops/augment/augment-inl.h"
