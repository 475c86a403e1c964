QEMU_ARCH = riscv32
QEMU_MACHINE = virt

CFLAGS += -DQEMU_SOC_VIRT -DMICROPY_HW_MCU_NAME='"RV32IMC"'
LDSCRIPT = mcu/rv32/virt.ld
SRC_BOARD_O += shared/runtime/gchelper_native.o shared/runtime/gchelper_rv32i.o
# Debian's multilib is named without zicsr, which the compiler is told and the linker must not be.
LIBS = -march=rv32imac
MPY_CROSS_FLAGS += -march=rv32imc

include $(MPEST_PORT)/board.mk
