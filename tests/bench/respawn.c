/* The least that restarts a child: no probe, no hook, no backoff. What all others are held against. */
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>

extern char **environ;

int main(int argc, char **argv)
{
    for (;;) {
        pid_t child;
        if (argc < 2 || posix_spawn(&child, argv[1], NULL, NULL, argv + 1, environ) != 0) {
            fprintf(stderr, "cannot start the program\n");
            return 1;
        }
        waitpid(child, NULL, 0);
    }
}
