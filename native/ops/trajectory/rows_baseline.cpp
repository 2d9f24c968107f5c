#define LP_ISA baseline
#include "ops/trajectory/rows-inl.h"
