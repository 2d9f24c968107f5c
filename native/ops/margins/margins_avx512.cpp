#define LP_ISA avx512
#include "ops/margins/margins-inl.h"
