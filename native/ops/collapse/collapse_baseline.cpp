#define LP_ISA baseline
#include "ops/collapse/collapse-inl.h"
