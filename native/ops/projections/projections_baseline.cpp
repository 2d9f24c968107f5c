#define LP_ISA baseline
#include "ops/projections/projections-inl.h"
