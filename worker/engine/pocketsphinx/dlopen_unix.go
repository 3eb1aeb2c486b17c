//go:build darwin || linux

package pocketsphinx

import "github.com/ebitengine/purego"

// libraryName is what the dynamic linker is asked for when Config.Library is empty.
const libraryName = "libpocketsphinx.so.3"

func dlopen(name string) (uintptr, error) {
	return purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL)
}

func dlsym(handle uintptr, name string) (uintptr, error) { return purego.Dlsym(handle, name) }
