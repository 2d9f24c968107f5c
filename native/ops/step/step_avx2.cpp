#define LP_ISA avx2
#include "ops/step/step-inl.h"
