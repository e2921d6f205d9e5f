package translog

import (
	"errors"
	"io/fs"
	"net/http"
	"regexp"
)

// tilePath is what a log serves beside its checkpoint (C2SP tlog-tiles): tiles and entry
// bundles, whole or partial.
var tilePath = regexp.MustCompile(`^tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/(x[0-9]{3}/)*[0-9]{3}(\.p/([1-9][0-9]{0,2}))?$`)

// Handler serves the logs for reading, each under the name of its trust domain: what
// C2SP tlog-tiles says, and nothing else of what is in their directories. The checkpoint
// comes with its cosignatures once there are any.
func (s *Set) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{td}/{path...}", func(w http.ResponseWriter, r *http.Request) {
		log, err := s.Reader(r.PathValue("td"))
		switch path := r.PathValue("path"); {
		case err != nil:
			http.NotFound(w, r)
		case path == "checkpoint":
			log.serveCheckpoint(w, r)
		case tilePath.MatchString(path):
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			log.serveTile(w, r, path)
		default:
			http.NotFound(w, r)
		}
	})
	return mux
}

func (r *Reader) serveCheckpoint(w http.ResponseWriter, req *http.Request) {
	c, err := r.Checkpoint(req.Context())
	if err != nil {
		http.Error(w, "there is no checkpoint", http.StatusNotFound)
		return
	}
	if cosigned, err := r.Cosigned(); err == nil && cosigned.Size == c.Size {
		c = cosigned
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(c.Note) // whoever asked and went can ask again
}

// serveTile serves a file. Of a partial one that is gone because it has become whole, the
// client asks for the whole one.
func (r *Reader) serveTile(w http.ResponseWriter, req *http.Request, path string) {
	f, err := http.Dir(r.tiles()).Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		http.NotFound(w, req)
		return
	}
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.IsDir() {
		http.NotFound(w, req)
		return
	}
	http.ServeContent(w, req, "", info.ModTime(), f)
}
