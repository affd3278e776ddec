/* `ringpost shaping check`: everything that is wrong with files of traffic shaping, which are laid
 * over each other as [shaping] files has them. No server has to run. */
#ifndef RINGPOST_TOOLS_CMD_SHAPING_H
#define RINGPOST_TOOLS_CMD_SHAPING_H

int cmd_shaping(int count, char **arguments);

#endif
