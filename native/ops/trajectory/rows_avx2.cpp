#define LP_ISA avx2
#include "ops/trajectory/rows-inl.h"
