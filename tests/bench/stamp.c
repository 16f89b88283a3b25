/* The child of the restart benchmark: says when it was executed, then waits to be killed. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const char *path = getenv("STAMP_FILE");
    int file = path ? open(path, O_WRONLY | O_APPEND | O_CREAT, 0644) : -1;
    if (file < 0) {
        perror("cannot open $STAMP_FILE");
        return 1;
    }
    dprintf(file, "%d %lld\n", getpid(), now.tv_sec * 1000000000LL + now.tv_nsec);
    close(file);
    for (;;)
        pause();
}
