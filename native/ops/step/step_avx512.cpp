#define LP_ISA avx512
#include "ops/step/step-inl.h"
