// What Flux and Argo CD make of objects, by their own code: reads a List as JSON, prints what both say of each of them.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	argo "github.com/argoproj/gitops-engine/pkg/health"
	flux "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/runtime/statusreaders"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Argo is empty for an object that Argo CD has no check for: it counts for nothing there.
type verdicts struct {
	Flux string `json:"flux"`
	Argo string `json:"argo"`
	Says string `json:"says"`
}

// Flux's controllers have a reader of their own for Jobs, since to kstatus one that runs is as good as one that is done.
var jobs = statusreaders.NewCustomJobStatusReader(nil)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var list unstructured.UnstructuredList
	if err := json.NewDecoder(os.Stdin).Decode(&list); err != nil {
		return fmt.Errorf("reading a List of objects from the standard input: %w", err)
	}
	found := map[string]verdicts{}
	for _, object := range list.Items {
		name := object.GetKind() + "/" + object.GetName()
		said, err := judge(&object)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		found[name] = said
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

func judge(object *unstructured.Unstructured) (verdicts, error) {
	said := verdicts{}
	if jobs.Supports(object.GroupVersionKind().GroupKind()) {
		status, err := jobs.ReadStatusForObject(context.Background(), nil, object)
		if err != nil {
			return said, err
		}
		said.Flux, said.Says = status.Status.String(), status.Message
	} else {
		status, err := flux.Compute(object)
		if err != nil {
			return said, err
		}
		said.Flux, said.Says = status.Status.String(), status.Message
	}
	health, err := argo.GetResourceHealth(object, nil)
	if err != nil {
		return said, err
	}
	if health != nil {
		said.Argo = string(health.Status)
		said.Says += "; " + health.Message
	}
	return said, nil
}
