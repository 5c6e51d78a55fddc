/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of kvrail-pcap's table. argv[0] is the command's name; they return an exit code. */
#pragma once

int command_make(int argc, char **argv);
int command_send(int argc, char **argv);
