/* folder.h: a private folder for a test program: make_dir and drop_dir are its group's setup and teardown. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char dir[] = "/tmp/appo-test-XXXXXX";

/* The last four results stay valid. */
static inline const char *in_dir(const char *name)
{
    static char path[4][256];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
    return path[turn];
}

static inline int make_dir(void **state) { (void)state; return mkdtemp(dir) ? 0 : -1; }
static inline int drop_dir(void **state)
{
    (void)state;
    char cmd[64];
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}
