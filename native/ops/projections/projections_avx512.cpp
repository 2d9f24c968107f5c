#define LP_ISA avx512
#include "ops/projections/projections-inl.h"
