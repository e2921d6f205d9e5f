package hostile

import (
	"testing"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
)

func TestMain(m *testing.M) { meshtest.Main(m) }
