package pocketsphinx

import (
	"fmt"
	"os"
	"path/filepath"
)

// install says what to do where something is missing.
const install = "install the Debian packages libpocketsphinx3 and pocketsphinx-en-us"

// modelDir is where Debian's pocketsphinx-en-us puts the model.
const modelDir = "/usr/share/pocketsphinx/model/en-us"

// model says where the parts of a model are.
type model struct {
	dir, acoustic, language, dictionary string
}

// findModel checks that all parts are there: the library itself may end the process
// over a file that it misses.
func findModel(dir string) (model, error) {
	m := model{
		dir:        dir,
		acoustic:   filepath.Join(dir, "en-us"),
		language:   filepath.Join(dir, "en-us.lm.bin"),
		dictionary: filepath.Join(dir, "cmudict-en-us.dict"),
	}
	parts := []string{m.language, m.dictionary}
	for _, name := range []string{
		"feat.params", "mdef", "means", "noisedict", "sendump", "transition_matrices", "variances",
	} {
		parts = append(parts, filepath.Join(m.acoustic, name))
	}
	for _, part := range parts {
		f, err := os.Open(part)
		if err != nil {
			return model{}, fmt.Errorf("pocketsphinx: model: %w; %s", err, install)
		}
		if err := f.Close(); err != nil {
			return model{}, fmt.Errorf("pocketsphinx: model: %w", err)
		}
	}
	return m, nil
}
