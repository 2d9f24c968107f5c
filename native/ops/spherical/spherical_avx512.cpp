#define LP_ISA avx512
#include "ops/spherical/spherical-inl.h"
