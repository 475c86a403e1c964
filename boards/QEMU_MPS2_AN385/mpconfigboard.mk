QEMU_ARCH = arm
QEMU_MACHINE = mps2-an385

CFLAGS += -mthumb -mcpu=cortex-m3 -mfloat-abi=soft
CFLAGS += -DQEMU_SOC_MPS2 -DMICROPY_HW_MCU_NAME='"Cortex-M3"'
LDSCRIPT = mcu/arm/mps2.ld
SRC_BOARD_O = shared/runtime/gchelper_native.o shared/runtime/gchelper_thumb2.o
MPY_CROSS_FLAGS += -march=armv7m

include $(MPEST_PORT)/board.mk

# As the rp2 port builds them, a Pico 2 W's too.
$(BUILD)/py/mpz.o $(BUILD)/py/vm.o $(BUILD)/py/map.o: COPT += -O2
