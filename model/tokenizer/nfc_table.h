/* nfc_table.h: canonical decompositions of one step and combining classes of Unicode 9.0. Read by nfc.c alone. */
#pragma once
#include <stdint.h>

struct nfc_step { uint32_t c, a, b; };                  /* c decomposes into a, b; b 0: into a alone */
struct nfc_class { uint32_t c; uint16_t k, n; };        /* n characters from c on have combining class k, others 0 */

enum { NFC_PAIRS = 940, NFC_ONE_WAY = 1120, NFC_CLASSES = 333 };
extern const struct nfc_step nfc_pairs[NFC_PAIRS];      /* c <-> a b, in order of c */
extern const uint16_t nfc_by_parts[NFC_PAIRS];          /* indices of nfc_pairs, in order of (a, b) */
extern const struct nfc_step nfc_one_way[NFC_ONE_WAY];  /* c -> a b, never composed again, in order of c */
extern const struct nfc_class nfc_classes[NFC_CLASSES]; /* in order of c */
