/* The version of program and library. */
#pragma once

#define CRIA_VERSION "0.1.0"
