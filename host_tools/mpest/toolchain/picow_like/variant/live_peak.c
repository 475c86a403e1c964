// The module `live_peak`: the most heap that was in use after any garbage collection.
//
// With gc.threshold small, collections are frequent and this comes close to what the program needs
// of a heap that is never fragmented.

#include "py/gc.h"
#include "py/obj.h"

void __real_gc_collect_end(void);
void __wrap_gc_collect_end(void);

static size_t most;

void __wrap_gc_collect_end(void) {
    __real_gc_collect_end();
    gc_info_t info;
    gc_info(&info);
    if (info.used > most) {
        most = info.used;
    }
}

// Bytes; counting starts again from 0.
static mp_obj_t live_peak_take(void) {
    size_t bytes = most;
    most = 0;
    return mp_obj_new_int_from_uint(bytes);
}
static MP_DEFINE_CONST_FUN_OBJ_0(live_peak_take_obj, live_peak_take);

static const mp_rom_map_elem_t live_peak_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_live_peak) },
    { MP_ROM_QSTR(MP_QSTR_take), MP_ROM_PTR(&live_peak_take_obj) },
};
static MP_DEFINE_CONST_DICT(live_peak_globals, live_peak_globals_table);

const mp_obj_module_t live_peak_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&live_peak_globals,
};

MP_REGISTER_MODULE(MP_QSTR_live_peak, live_peak_module);
