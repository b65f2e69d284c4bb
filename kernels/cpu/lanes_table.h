/* lanes_table.h: the table of the inner loops included before it. */
static const struct lanes table = {
    .name = ISA, .norm = norm, .norm_back = norm_back, .rotate = rotate, .swiglu = swiglu, .swiglu_back = swiglu_back,
    .stat = stat, .dlogits = dlogits, .attn = attn, .attn_back = attn_back,
};
