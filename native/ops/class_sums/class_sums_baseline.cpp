#define LP_ISA baseline
#include "ops/class_sums/class_sums-inl.h"
