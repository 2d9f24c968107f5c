#define LP_ISA avx512
#include "ops/descent/descent-inl.h"
