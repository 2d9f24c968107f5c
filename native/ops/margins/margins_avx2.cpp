#define LP_ISA avx2
#include "ops/margins/margins-inl.h"
