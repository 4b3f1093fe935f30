// What the API server would say, by its own code: reads {"objects": [...], "policy": {...}, "pods": [...]} and answers
// {"unknown": [...], "uncompiled": [...], "decisions": [...]}.
//
//	objects   decoded strictly, as with fieldValidation=Strict: unknown and doubled fields, wrong types
//	policy    a ValidatingAdmissionPolicy, compiled for the oldest and the newest version of Kubernetes that it is for
//	pods      made, one after another; why the policy refuses each, or nothing
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	v1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	unstructuredv1 "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	apicel "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/client-go/kubernetes/scheme"
)

type question struct {
	Objects []json.RawMessage             `json:"objects"`
	Policy  *v1.ValidatingAdmissionPolicy `json:"policy"`
	Pods    []*corev1.Pod                 `json:"pods"`
}

type answer struct {
	Unknown    []string `json:"unknown"`
	Uncompiled []string `json:"uncompiled"`
	Decisions  []string `json:"decisions"`
}

func main() {
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	given := answer{Unknown: strictly(asked.Objects)}
	if asked.Policy != nil {
		// The first version that has policies as v1, and this library's.
		for _, of := range []*version.Version{version.MajorMinor(1, 30), environment.DefaultCompatibilityVersion()} {
			given.Decisions = nil
			policy := compile(asked.Policy, of)
			for _, pod := range asked.Pods {
				given.Decisions = append(given.Decisions, decide(policy, pod))
			}
			given.Uncompiled = append(given.Uncompiled, problems(asked.Policy, of)...)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(given); err != nil {
		os.Exit(1)
	}
}

func strictly(objects []json.RawMessage) (problems []string) {
	decoder := serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme.Scheme, scheme.Scheme,
		serializer.SerializerOptions{Strict: true})
	for _, object := range objects {
		if _, kind, err := decoder.Decode(object, nil, nil); err != nil {
			problems = append(problems, fmt.Sprintf("%v: %v", kind, err))
		}
	}
	return problems
}

// k8s.io/apiserver/pkg/admission/plugin/policy/validating/plugin.go, compilePolicy
func compile(policy *v1.ValidatingAdmissionPolicy, of *version.Version) validating.Validator {
	compiler, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(of))
	if err != nil {
		panic(err)
	}
	with := cel.OptionalVariableDeclarations{HasAuthorizer: true}
	mode := environment.NewExpressions
	compiler.CompileAndStoreVariables(variables(policy), with, mode)
	var conditions []cel.ExpressionAccessor
	for i := range policy.Spec.MatchConditions {
		conditions = append(conditions, (*matchconditions.MatchCondition)(&policy.Spec.MatchConditions[i]))
	}
	var matcher matchconditions.Matcher
	if len(conditions) > 0 {
		matcher = matchconditions.NewMatcher(compiler.CompileCondition(conditions, with, mode),
			policy.Spec.FailurePolicy, "policy", "validate", policy.Name)
	}
	checks, messages := validations(policy)
	return validating.NewValidator(compiler.CompileCondition(checks, with, mode), matcher,
		compiler.CompileCondition(nil, with, mode),
		compiler.CompileCondition(messages, cel.OptionalVariableDeclarations{}, mode), policy.Spec.FailurePolicy, nil)
}

func variables(policy *v1.ValidatingAdmissionPolicy) (named []cel.NamedExpressionAccessor) {
	for _, one := range policy.Spec.Variables {
		named = append(named, &validating.Variable{Name: one.Name, Expression: one.Expression})
	}
	return named
}

func validations(policy *v1.ValidatingAdmissionPolicy) (checks, messages []cel.ExpressionAccessor) {
	for _, one := range policy.Spec.Validations {
		checks = append(checks, &validating.ValidationCondition{
			Expression: one.Expression, Message: one.Message, Reason: one.Reason})
		messages = append(messages, &validating.MessageExpressionCondition{MessageExpression: one.MessageExpression})
	}
	return checks, messages
}

// Each expression by itself: what does not compile is otherwise only told when it is evaluated.
func problems(policy *v1.ValidatingAdmissionPolicy, of *version.Version) (found []string) {
	compiler, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(of))
	if err != nil {
		panic(err)
	}
	with := cel.OptionalVariableDeclarations{HasAuthorizer: true}
	check := func(expression cel.ExpressionAccessor) {
		if result := compiler.CompileCELExpression(expression, with, environment.NewExpressions); result.Error != nil {
			found = append(found, fmt.Sprintf("%s: %v", of, result.Error))
		}
	}
	for _, one := range variables(policy) {
		if result := compiler.CompileAndStoreVariable(one, with, environment.NewExpressions); result.Error != nil {
			found = append(found, fmt.Sprintf("%s: %s: %v", of, one.GetName(), result.Error))
		}
	}
	for i := range policy.Spec.MatchConditions {
		check((*matchconditions.MatchCondition)(&policy.Spec.MatchConditions[i]))
	}
	checks, messages := validations(policy)
	for _, one := range append(checks, messages...) {
		check(one)
	}
	return found
}

// Why the pod is refused; empty when it is not.
func decide(policy validating.Validator, pod *corev1.Pod) string {
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(pod)
	if err != nil {
		panic(err)
	}
	kind := corev1.SchemeGroupVersion.WithKind("Pod")
	resource := corev1.SchemeGroupVersion.WithResource("pods")
	attributes := admission.NewAttributesRecord(pod, nil, kind, pod.Namespace, pod.Name, resource, "", admission.Create,
		&metav1.CreateOptions{}, false, &user.DefaultInfo{Name: "author"})
	versioned := &admission.VersionedAttributes{Attributes: attributes, VersionedKind: kind, VersionedObject: unstructured(object)}
	result := policy.Validate(context.Background(), schema.GroupVersionResource(resource), versioned, nil,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: pod.Namespace}}, apicel.RuntimeCELCostBudget, nil)
	var why []string
	for _, decision := range result.Decisions {
		if decision.Action != validating.ActionAdmit {
			why = append(why, decision.Message)
		}
	}
	return strings.Join(why, "; ")
}

func unstructured(object map[string]interface{}) runtime.Object {
	return &unstructuredv1.Unstructured{Object: object}
}
