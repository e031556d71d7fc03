from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.http import JsonResponse
from rest_framework import serializers
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.validators import UniqueValidator


class RegisterSerializer(serializers.Serializer):
    email = serializers.EmailField(
        source="username", max_length=150, validators=[UniqueValidator(User.objects.all())]
    )
    password = serializers.CharField(validators=[validate_password])

    def create(self, data):
        return User.objects.create_user(data["username"], data["username"], data["password"])


def health(request):
    return JsonResponse({"ok": True})


@api_view(["POST"])
@permission_classes([AllowAny])
def register(request):
    serializer = RegisterSerializer(data=request.data)
    serializer.is_valid(raise_exception=True)
    user = serializer.save()
    return Response({"id": user.id, "email": user.email}, status=201)


@api_view(["GET"])
def me(request):
    return Response({"id": request.user.id, "email": request.user.email})
