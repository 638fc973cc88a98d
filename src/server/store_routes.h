/* Handlers of the store's routes, one subject a file; api_store.c has their table. */
#pragma once

#include "server/api.h"
#include "server/route.h"

extern const struct field store_show_fields[], store_create_fields[], store_transfer_fields[];
void store_show(struct request *r);   /* api_show.c */
void store_create(struct request *r); /* api_create.c */
void store_pull(struct request *r);   /* api_pull.c */
void store_push(struct request *r);
void store_head_blob(struct request *r); /* api_blob.c */
void store_post_blob(struct request *r);
extern const struct body_sink store_blob_sink;
