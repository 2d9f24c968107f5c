#define LP_ISA baseline
#include "ops/spherical/spherical-inl.h"
