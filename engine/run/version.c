/* version.c: compiled anew when the commit changes (Makefile). */
#include "engine/run/version.h"
#ifndef APPO_VERSION
#define APPO_VERSION "unknown"
#endif
const char appo_version[] = APPO_VERSION;
