#define LP_ISA avx2
#include "ops/projections/projections-inl.h"
