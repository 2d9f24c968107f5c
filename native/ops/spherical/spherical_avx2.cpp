#define LP_ISA avx2
#include "ops/spherical/spherical-inl.h"
