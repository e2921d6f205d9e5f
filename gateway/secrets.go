package gateway

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"

	"github.com/sallyport-mesh/sallyport/gateway/internal/credentials"
	"github.com/sallyport-mesh/sallyport/gateway/policy/address"
)

// checkSecrets judges what is said of secrets. Whether their files are there is not its
// business: what needs one that is missing is refused, and nothing else.
func (b *bootstrap) checkSecrets() error {
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(b.GetSecrets())) {
		field := "secrets." + name
		if !address.IsLabel(name) {
			faults = append(faults, fault(field, "a name is a DNS label: lower-case letters, digits and hyphens, at most 63"))
		}
		if file := b.GetSecrets()[name].GetFile(); !filepath.IsAbs(file) {
			// What is there is not said: it may be the secret itself.
			faults = append(faults, fault(field+".file", "want the absolute path of a file"))
		}
	}
	return errors.Join(faults...)
}

// secrets holds what the bootstrap file names.
func (b *bootstrap) secrets() *credentials.Holder {
	files := make(map[string]string, len(b.GetSecrets()))
	for name, s := range b.GetSecrets() {
		files[name] = s.GetFile()
	}
	return credentials.New(files)
}
