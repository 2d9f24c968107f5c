#define LP_ISA avx2
#include "ops/class_sums/class_sums-inl.h"
