/* golden.c: `appo golden DIR`: runs recorded vectors of the official implementation. */
#include "cmd/cmd.h"
#include "eval/golden/golden.h"

int cmd_golden(int argc, char **argv)
{
    if (argc != 1 || argv[0][0] == '-') {
        fprintf(stderr, "usage: appo golden DIR: runs every vector file found in DIR through this program under "
                        "preset=official\n");
        return 2;
    }
    return golden_main(argv[0]);
}
