/* version.h: the commit of this build. */
#pragma once

/* With "+" at the end if files differed from the commit; "unknown" without git. */
extern const char appo_version[];
