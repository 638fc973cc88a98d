/* The smallest program that uses libcria: continue a text.
 *
 *     cc hello.c $(pkg-config --cflags --libs libcria) -o hello
 *     ./hello model.gguf "Once upon a time" */
#include <cria.h>
#include <stdio.h>

/* Called with each piece of the answer. */
static int print_piece(void *user, const char *text, size_t n_bytes, int32_t token) {
    (void)token;
    fwrite(text, 1, n_bytes, user);
    fflush(user);
    return 0; /* anything else would end the answer */
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: hello MODEL.gguf TEXT\n");
        return 2;
    }
    cria_error error;
    cria_model *model = cria_model_open(argv[1], NULL, &error);
    cria_session *session = model ? cria_session_new(model, &error) : NULL;

    cria_generate_options options;
    cria_generate_options_init(&options, sizeof options);
    options.n_predict = 32;
    options.temperature = 0;

    cria_result result;
    int rc = session
                 ? cria_generate(session, argv[2], &options, print_piece, stdout, &result, &error)
                 : -1;
    if (rc == 0)
        printf("\n%d tokens read in %.3f s, %d written in %.3f s\n", result.n_prompt,
               result.prompt_s, result.n_generated, result.generate_s);
    else
        fprintf(stderr, "hello: %s\n", error.message);

    cria_session_free(session);
    cria_model_close(model);
    return rc == 0 ? 0 : 1;
}
