#define LP_ISA avx2
#include "ops/descent/descent-inl.h"
