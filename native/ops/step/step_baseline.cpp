#define LP_ISA baseline
#include "ops/step/step-inl.h"
